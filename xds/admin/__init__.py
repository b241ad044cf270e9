"""What the control server says of itself, over HTTP. Nothing but live weights can be changed here."""
