# How long, in seconds, a test waits for another thread or process before it says that it hangs.
PATIENCE = 120
