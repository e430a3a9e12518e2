"""What TWS says, on its way to the bus."""
