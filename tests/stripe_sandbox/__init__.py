"""The Stripe sandbox against Stripe's contract."""
