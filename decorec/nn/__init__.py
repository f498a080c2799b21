"""Neural building blocks that do not depend on a model."""
