"""A pool on a database of this test's own."""

import asyncio

import asyncpg


async def ten_at_once(url):
    """Return the sum of what ten tasks wrote by the pool's connections."""
    async with asyncpg.create_pool(url, min_size=1, max_size=4) as pool:
        await pool.execute("CREATE TABLE line (cost int)")
        await asyncio.gather(*(pool.execute("INSERT INTO line VALUES ($1)", n) for n in range(10)))
        return await pool.fetchval("SELECT sum(cost) FROM line")


def test_ten_tasks(costmgmt_database):
    """What ten tasks commit at once is there."""
    assert asyncio.run(ten_at_once(costmgmt_database.url)) == 45


def test_nothing_of_the_other_test(costmgmt_database):
    """The same again: the table did not exist."""
    assert asyncio.run(ten_at_once(costmgmt_database.url)) == 45
