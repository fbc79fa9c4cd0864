"""Tables and pages of a whole study."""
