"""What several tests are made of: fake peers, virtual time, generated data, faults made real."""
