"""What tests share: stand-in engines, a load of clients, and processes that are ended by their id."""
