"""What the tests of the real engine share: tiny models, the engine as an oracle, and the engine as servers."""
