"""Measures this project beside what people use today. Run `make bench`; see docs/performance.md."""
