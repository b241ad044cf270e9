"""The xDS protocol: what a stream has asked for and been sent, and what it is to be sent next."""
