"""What benches/compare.py consists of: one idea per file."""
