"""The text of docs/numbers-measured.md around its tables."""

TEXT = """# How accurate the numbers are, measured

`python tools/truth.py --write` writes this page from simulated populations
([simulate.md](simulate.md)): {installs} installs × {days} days, seeds {seeds}. People and
attackers are invented; recorder, publisher, keys, relay rules, judge, store and views are the
real code. The simulator also stores what truly happened, so every number can be compared with the
truth.

## Without losses and attacks

`tests/truth/test_truth.py` asks each view and the stored truth the same question. It does so in
three populations with correct clocks and no losses, whose machines run until everything is
published:

{compared}
The tests fail for a new view that has no such comparison.

## What changes the numbers

These tables compare the views with what the people who agreed truly did. A column with `%` shows
the error of a count, summed over all days, weeks or months. `d1`, `d7`, `d30`, `succeed` and `b
minus a` show an error in percentage points. `versions`, `systems` and `random` show the mean
absolute error, also in points. The columns named `covered` show how many of a hundred true values
lie within the bounds or 95 % intervals that the view states. Each figure is the mean over the
seeds, ± the distance of a seed from it. About {beats:.0f} heartbeats are due each day. Each
report of a flooder is a heartbeat that claims to be the first of its day, week and month. Forgers
publish 20 bundles a day, replayers 100 reports, squatters 20 items.

{installs_table}
{use_table}
## Who is not counted

These are percentages of what all people did, including those who did not agree. `agreed`: active
days of installs that agreed. `seen`: active days that `dau` counts. `of people`: the same per day
and person, who may have several installs. `bias`: the largest error of a system's share, in
points, which the view `bias` shows if totals are known.

{agree_table}
## Conclusions

- **Counts really are lower bounds.** Of 100 active days, {untold:.0f} are never reported: the
  last days of people who stop using the app, and days after which a machine was not used again.
  Once everything is published, counts are exact.
- **Losses lower counts at their own rate, but hardly change shares.** If a fifth of all bundles
  is lost, DAU is {lost:.0f} % too low, while the shares of versions and systems are off by about
  2 points, and the share of successful sign-ins by less than one. To compare periods with
  different losses, compare shares, not counts. `days covered` falls at once, because the interval
  of `events` accounts for sampling only.
- **Flooders change counts of long periods most.** One false report per hundred heartbeats raises
  DAU by 1 %, WAU by {flood_week:.0f} %, MAU by {flood_month:.0f} % and new installs by
  {flood_new:.0f} %: each false report passes for one more install of its month, while an honest
  install reports on many days. So look at DAU first. If MAU rises while retention and sign-ins do
  not, suspect an attack. False reports look like true ones; an event type that has to
  resist flooding can require proof of work.
- **Forgers, replayers and squatters change no number.** None of their items becomes a row.
- **Wrong clocks** move few reports to another day. Reports too far ahead or behind are refused.
- **A sample is right on average, but noisy.** If one sign-in in ten is reported, the total is off
  by a few percent and every day lies within its interval. The gain of variant b over a is off by
  {sampled:.0f} points, because few sign-ins of each variant remain. Compare variants without
  sampling, or over a longer time.
- **Randomized response needs many reports.** Here about {answering:.0f} installs answer in a
  month, and estimates are off by {random:.0f} points of those who answered. The error shrinks
  with the square root of their number: to about {random_many:.1f} points for 10,000. The view
  always states the interval.
- **Who agrees matters more than everything above.** `dau` sees {seen:.0f} of 100 active days if 6
  of 10 people agree, and a system's share is off by {bias:.0f} points because people on some
  systems agree more often. If you know totals, look at `coverage` and `bias` first.
"""
