"""Workflow engines that run the tasks of a job: Snakemake, Nextflow and BABS."""
