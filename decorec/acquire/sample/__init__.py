"""The sample shop: a small shop in Amazon-2018 format, generated from a seed and served on the loopback interface."""
