"""Jobs: a file cut into segments that survive a kill and spread over workers. `job.run` is the whole of it."""
