"""What `imcap COMMAND` is made of: flags, the config that they name, and the console."""
