"""What plugins are and what they are given: types without behaviour."""
