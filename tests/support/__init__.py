"""What tests share: stories, fakes, servers on loopback."""
