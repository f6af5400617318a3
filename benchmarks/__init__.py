"""How fast rsim is, beside multiprocessing.Pool and Ray in the same run: `python -m benchmarks`.

`table` says what is measured and which bars hold; `rounds` runs the peers in turns, each in a
process of its own. `local`, `pool`, `ray` and `sim` are the peers. They and what they share,
`measure` and `tasks`, import nothing that another interpreter may lack.
"""
