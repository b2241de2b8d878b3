"""The drawing studio: a page in the browser, a small server on this machine, and the model in a process of its own."""
