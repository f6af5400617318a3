"""What tests of remote code use."""
