"""Extensions of image viewers."""
