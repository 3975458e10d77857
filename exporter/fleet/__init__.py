"""Several replicas, one account: who is a member, who follows which call, and what is kept between them.

``docs/fleet.md`` says how it works.
"""
