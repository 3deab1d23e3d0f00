"""Updates: what the retailer's publisher has signed (TUF), in a slot of its own, judged for ten minutes, or taken back.

Two processes share this room. The *updater* (`smartstore update run`, a systemd unit without a port) asks the
repository, verifies, fills a slot, turns a link and judges. The *gateway* says which versions are wanted, tells the
journal and the audit what the updater did, and hands firmware to the devices. They meet in one folder of small files
(`edge.updates.files`). The publisher's tool is `edge.updates.repository`.
"""
