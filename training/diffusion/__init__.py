"""Training of latent diffusion, which draws images of brains."""
