"""Network, battery and switches of the device, from whoever can tell of them."""
