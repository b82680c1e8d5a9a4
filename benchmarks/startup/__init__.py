"""What a start costs beside a bare interpreter, from the wheel as it is installed."""
