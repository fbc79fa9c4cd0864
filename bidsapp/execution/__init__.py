"""Running the workflows: plan, status, progress, failures and clean-up."""
