"""Neural building blocks that know no model."""
