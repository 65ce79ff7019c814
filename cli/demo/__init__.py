"""`paysaga demo`: a story over the public HTTP API, with the Stripe sandbox as the world outside."""
