"""Several connections at once to a database of this test's own."""

import asyncio

import psycopg


async def insert(conninfo, number):
    """Insert a row by a connection of its own."""
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        await connection.execute("INSERT INTO line VALUES (%s)", (number,))


async def ten_at_once(conninfo):
    """Return the sum of what ten clients wrote."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute("CREATE TABLE line (cost int)")
        await asyncio.gather(*(insert(conninfo, number) for number in range(10)))
        cursor = await connection.execute("SELECT sum(cost) FROM line")
        return (await cursor.fetchone())[0]


def test_ten_clients(costmgmt_database):
    """What ten clients commit at once is there."""
    assert asyncio.run(ten_at_once(costmgmt_database.conninfo)) == 45


def test_nothing_of_the_other_test(costmgmt_database):
    """The same again: the table did not exist."""
    assert asyncio.run(ten_at_once(costmgmt_database.conninfo)) == 45
