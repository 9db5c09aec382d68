"""Training of nano, the small Video-XL that ships with the package: `python -m training.train_nano`."""
