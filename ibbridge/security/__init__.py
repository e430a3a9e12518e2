"""Who may connect to the bus."""
