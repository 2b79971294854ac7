"""`wakeful fleet notify`: tells people of what the fleet's database has newly taken in.

`rules` says which events concern whom, `queue` keeps in the database what has to be sent and what
was, `message` words it, `channels` sends it, `weekly` makes the report, `service` is the loop.

A notification is one row for each rule, recipient and event, written before anything is sent, so
that a restart neither forgets nor repeats. Between "the server has it" and "the row says so" lies
an instant in which a killed process leaves the answer open: such a row is sent again under the
same `Message-ID` (e-mail) or `Idempotency-Key` (webhook), by which the receiver knows it.
"""
