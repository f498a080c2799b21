"""Training, tuning and measurement of gradients."""
