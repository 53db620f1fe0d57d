"""`notifier doctor`: is everything there that alerts need, and what to do about what is not."""
