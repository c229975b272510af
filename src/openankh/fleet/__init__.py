"""Embedding on more than one device: the input in parts, workers that make a shard of each, one store of all shards.

`run` takes a FASTA file to an output with the processes of `device_workers`, one a device of this machine, or with
`ray_cluster`. Import from the modules themselves: only what loads a model needs torch, only `ray_cluster` needs Ray.
"""
