"""Atlas, centroids and QC norms computed with the shipped networks."""
