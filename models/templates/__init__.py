"""Templates, their cohorts and output spaces."""
