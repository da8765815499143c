"""The words of docs/numbers-measured.md around its tables."""

TEXT = """# How far to trust the numbers, measured

This page is written by `python tools/truth.py --write` from simulated populations
([simulate.md](simulate.md)): {installs} installs × {days} days, seeds {seeds}. People and attackers
are invented; recorder, publisher, keys, the relays' rules, judge, store and views are the code that
runs. Beside each data set stands what truly happened, so that every number can be compared.

## Without loss and lies

`tests/truth/test_truth.py` asks each view and the truth the same question, in three populations
where clocks are right, nothing is lost, and machines run until all is published:

{compared}
A new view without such a comparison fails the tests.

## What moves them

Against what those who agreed truly did. `%` is the error of a count, added up over all days, weeks
or months. `d1`, `d7`, `d30`, `succeed` and `b less a` are off by so many points of a hundred;
`versions`, `systems` and `random` by so many on average, whatever the sign. `held` is how many of a
hundred true values lie within the bounds or 95 % intervals that the view states. Each figure is the
mean of the seeds, ± the distance from it. Some {beats:.0f} heartbeats are due on a day. Each report
of a flooder is a heartbeat that claims to be the first of its day, week and month; forgers publish
20 bundles a day, replayers 100 reports, squatters 20 items.

{installs_table}
{use_table}
## Who is not counted

Percents of what everybody did, whoever agreed. `agreed`: active days of installs that agreed;
`seen`: active days that `dau` counts; `of people`: the same per day and person, who may have
several installs; `bias`: the most by which a system's share is off, in points, as the view `bias`
shows it where totals are known.

{agree_table}
## What to conclude

- **"At least" is meant.** Of 100 active days, {untold:.0f} are never told: the last days of those
  who give the app up, and days after which a machine was not used again. Once all is published,
  counts are exact.
- **Loss lowers counts by its rate and hardly moves shares.** With a fifth of all bundles lost, DAU
  is {lost:.0f} % too low, while shares of versions and systems are off by about 2 points, and that
  of successful sign-ins by less than one. Compare shares rather than counts between times with
  different losses. `days held` falls at once: the interval of `events` speaks of sampling alone.
- **Flooders move counts of long periods most.** A false report for each hundred heartbeats adds
  1 % to DAU, but {flood_week:.0f} % to WAU, {flood_month:.0f} % to MAU and {flood_new:.0f} % to new
  installs: each passes for another install of its month, where an honest one reports on many days.
  So read DAU first; a MAU that rises where retention and sign-ins do not is a sign. Nothing tells
  false reports from true ones: a type that has to resist asks for proof of work.
- **Forgers, replayers and squatters change nothing**; they leave refusals.
- **Wrong clocks** move few reports to another day. Those too far ahead or behind are refused.
- **A sample is right on average and noisy.** With one sign-in in ten reported the total is off by a
  few percent and every day is within its interval, but the gain of variant b over a is off by
  {sampled:.0f} points, since few are left of each. Compare variants without sampling, or wait.
- **Random answers need many.** Here some {answering:.0f} installs answer in a month, and estimates
  are off by {random:.0f} points of those who answered. That shrinks with the square root of their
  number: to about {random_many:.1f} points among 10,000. The interval says so each time.
- **Who agrees matters more than all of this.** `dau` sees {seen:.0f} of 100 active days where 6 of
  10 agree, and a system's share is off by {bias:.0f} points because people of some systems agree
  more readily. Where totals are known, ask `coverage` and `bias` before anything else.
"""
