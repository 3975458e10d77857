"""What tests share: calls written in no dialect, and the pipeline from payload to metrics and spans."""
