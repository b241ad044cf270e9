"""What the control server says of itself, over HTTP. Nothing here changes anything."""
