"""The version, as a literal: asking the installed metadata for it would cost half of a lint's start-up."""

VERSION = "0.1.0"
