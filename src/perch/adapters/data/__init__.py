"""Where click logs lie when they are not on this machine: web servers and object stores."""
