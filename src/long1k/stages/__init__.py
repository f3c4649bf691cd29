"""The seven stages: plain functions from tables to one table, checkpoint or page."""
