"""What Eventwire costs above the raw client, by client CPU time: `make bench`."""
