"""Flows ready to deploy, one file each; `prefect.yaml` deploys them."""
