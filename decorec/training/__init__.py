"""Training, tuning, and the measurement of gradients."""
