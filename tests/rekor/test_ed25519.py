"""Our own Ed25519: RFC 8032's vectors, Go's signatures, and `cryptography` on random cases."""

from __future__ import annotations

import os
import random
from hashlib import sha512
from typing import Final

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from appliance.rekor.ed25519 import challenge_prefix, verify_hashed, verify_prehashed

RUNS: Final = int(os.environ.get("ATTESTOR_FUZZ_RUNS", "20000")) // 20
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
# RFC 8032 7.3, TEST abc: secret key, signature.
SECRET: Final = bytes.fromhex("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42")
SIGNATURE: Final = bytes.fromhex(
    "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
    "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
)
# RFC 8032 7.1, TEST 3: key, message, signature.
PURE: Final = (
    bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"),
    bytes.fromhex("af82"),
    bytes.fromhex(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    ),
)
# Made and judged by Go 1.26's crypto/ed25519 with Options{Hash: SHA512}: whether it verifies,
# key, signature, SHA-512 digest. Two of three are spoiled in one bit.
GO: Final = (
    (
        True,
        "53d30f6d4f6767b38e53ee93fd490c2e0d6e78423cdbb8ffa6b4e31193a86bfb",
        "7bb87eac27cf057385ba6a4383257afebe963b824fedaa06766c1a7831e546a4"
        "25eaa1578f3c8a7f594dbb4eeb6577503db97dc2837b716f44de5977a964fc03",
        "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
        "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
    ),
    (
        False,
        "f81eb10697e42e6a24a79e2d98ab3d6599ca944d41cd6df78c7419044024d780",
        "8db62077f23e130a04ad675ea0245b9d25e08428e4f7a9b526cd3bd054faeb71"
        "7b4d1b12e4d176177a4a7eef0c52254edf9cf9cded0b59b895344a4c82292b0c",
        "73e5e3beae5b28317ed6b0cff08c7bbb9156dcad8e8f8c58399e0877d01f41ef"
        "0776a4c0bd5da9d194aa0a175f5ed52ad44d6da38bd1721f8c37e55a745f2487",
    ),
    (
        False,
        "be491ccfa22b77cd2db48022c8c4947fa2a9d75944b3ecbad010ad1cc85cd106",
        "9b94c9faffe4d0b53175f1620e39ddcaaafc444098c67dc2a7fa3726337bd949"
        "24847493bfc478e138e7554ac7ccf8d1fb6b269cc093d570df687def1ecfc600",
        "337c19d321a12e24cc64550833cf94fcbe7c799c4fcd7e103c7e6bbf39124b8c"
        "0b1049d25f90fbab77a233e4e99c0ecc1080e7c1f527ea726497f04212cf2161",
    ),
    (
        True,
        "cad725e9f124af35feb7b3d67abcb488d61d05de879fccf86c2a71763182592e",
        "cac22e1b6d0102c5610389bafac5015f0f595300a01659321ced255477490b5f"
        "63a6e85f5ed8fdee8b26837d6a7527b6c11d73a941f1adda57d8baba9c006308",
        "7a6e692b0808dd62d0274f64f168828d7c63b9b53cb75a05ff571bb69595db17"
        "89024a35ac3aea268b983a8ca4c76a38bb4e08c28c6fa71e81bff5aeb00e9095",
    ),
    (
        False,
        "c31d432a9f875ef1e5308e0f21303105285bd1274770e8eee22183ff80f497cf",
        "af9ba10a2dbf46671ee86e19e54bf3863eaa120e3b9bf46364604445e7ed3fe5"
        "0e3bd784211714b74609bdf54a12eb7e5beb296fbdb74f2bf276d6ff83509b01",
        "32dda30405dc035f6bd7b9da7366d5f70788d50d5a3d8be8a71c1502c8a3f63b"
        "bcceb0d8a12294814017ce70120f6be995958d7882e672c6114e6f23766584b7",
    ),
    (
        False,
        "e8f40db8d209f03eb6c2184e5796f4e8dd9050d98eaf8b237a09f7c91dfe8a41",
        "1db1516be1bedc60f05b9ef8865d1be0367da01936d0be39dc55e0202aa6b48c"
        "17138651d97fa4d9a796f2e69f156b16150493cd72876cf761773384376f1607",
        "de0370d999da5835d0e81e113c1b51d7789ddacbfb06f4e4b0f99d57c97357b1"
        "ec20242258bf4e93a6988c309dc5f4db6ac2fb275fa29472b63d748dfdd843ce",
    ),
    (
        True,
        "1c969f7b6921975083fc8a98b4ae34b70070115fd44725f312156e1f521f6cb9",
        "24cebc427742d73663f52afea23907f68d5982a0dfbbfe5163b76d453d13f85d"
        "23215444b36f39fee2c6269bc07c6a094b204df497572c043795aa60c8949700",
        "3b6e3a453f20c7db5839d51015f0b71aacf25947f07a3fab66be95b911c24bdf"
        "e2b90f3d6c5f47617b29c5ab2141115ecd0ca8fbab7095f0621355165705a323",
    ),
    (
        False,
        "087f2654baab0b3c5997afa41b6592b3b2e28817bfee159196fd3ba7f737ddfe",
        "61ad6cccfa01f2c26fc161b75113222a81ff03af2c05f9776dc874a9e8743083"
        "0be886e4c1d76e2a4fa8a39cf3ce18bc6bd73291bb9188e182426fda3389c40e",
        "cb09b4851750c399b4245ff74182832ecae944646730675aa7555165c0caceb2"
        "0e4a84fe5f425829e3f2a034785743d4a5b2aa808433a730a900dcac81661d71",
    ),
    (
        False,
        "8f7e20018bf6a8a7e127f65f218483f052e4e7d922f13bbb8fb12dd1dd43b611",
        "4ee919819cc853bb55c7f855c588f5eb2ddcc9f0d50fab0f362d25804217e6c6"
        "e3a9ce7767829b1ebd61cf9fbb7d656d30ef94eb3ce661c827ceea278a891107",
        "1db97ef9668048221f879f3d47554c0a8627961f2ba0195b9d4f465759725c5b"
        "9906276e868f23e5bdac85c570c07e35b6a7171c07ad02b60879967e14a7f91f",
    ),
    (
        True,
        "eaf39889534282cc91accdf40793fafefa9ef74c3e2fc8b345e8ba289b020b4f",
        "a5221d14ede84c93352276ce47ff9208dbd1edc76458010dfe0dde9f0b6f2c04"
        "b064580ef3ab53ea217becd3091685e6803f14eb9c02eea1a900bf27728ba20d",
        "4d4767a750532884d9de13bca33de1c64f490ff9d33f2335d2e32a5babf230e5"
        "7a75a0f4daa0ede293972f6d43a581df1e097621d708dea1647d8d3598b3a5d7",
    ),
    (
        False,
        "d2c43428eab36380da4e2bd2c0d2cb554d5856cc5a4aa691c3db4f8d4f4bb636",
        "e6f9c61aaa8226255dfe74884f25f56720edbe8ef0cd1b733c8885138a5467a3"
        "62e607deff05b6be968b3638ab764d488e5287aa7c99808c197f14810365350c",
        "36e30e4ed8e42598fafecbdf3c0f1c92f0fd8db9492d1609f6fcbbcc8b1a6691"
        "f689b5517113340956d1c768eb3300c82c4704fd1d443e72ba1546e7dccb75be",
    ),
    (
        False,
        "c5d491c6cf33d285427a61358b260159a49303f624154a8d3ce98e0180b2cdd2",
        "12cb823689295bfcc6ddaafa6a200eea123c943c80cde79ea5dff2db11b30dbb"
        "0c3ce526f0fd9985c6ccb0d377f7690facfa6810d18cad04a2bf8b6837de7305",
        "26fb0ce10b9b118d45f4b916f33e42bd1aefd800f095faefda6a4cf17e9ad753"
        "ee514845e889da44e21cfed72c5fc9ee0e85ab7234842bdd139d4fd761b44b55",
    ),
)


def pure(key: bytes, signature: bytes, message: bytes) -> bool:
    hashed = sha512(challenge_prefix(key, signature) + message).digest()
    return verify_hashed(key, signature, hashed)


def theirs(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_the_published_prehashed_vector() -> None:
    key = Ed25519PrivateKey.from_private_bytes(SECRET).public_key().public_bytes_raw()
    digest = sha512(b"abc").digest()
    assert verify_prehashed(key, SIGNATURE, digest)
    for position in range(64):
        spoiled = bytearray(SIGNATURE)
        spoiled[position] ^= 1 << position % 8
        assert not verify_prehashed(key, bytes(spoiled), digest)
    assert not verify_prehashed(key, SIGNATURE, sha512(b"abd").digest())
    assert not pure(key, SIGNATURE, b"abc")
    assert not pure(key, SIGNATURE, digest)


def test_the_published_pure_vector() -> None:
    key, message, signature = PURE
    assert pure(key, signature, message)
    assert not pure(key, signature, message + b"x")
    assert not verify_prehashed(key, signature, sha512(message).digest())


@pytest.mark.parametrize(("is_good", "key", "signature", "digest"), GO)
def test_prehashed_signatures_by_go(is_good: bool, key: str, signature: str, digest: str) -> None:
    raw = map(bytes.fromhex, (key, signature, digest))
    assert verify_prehashed(*raw) is is_good


def test_random_cases_are_judged_as_by_openssl() -> None:
    """Good signatures, and ones changed in key, point, scalar or message."""
    dice = random.Random(8032)  # noqa: S311 - cases, not secrets
    secret = Ed25519PrivateKey.from_private_bytes(dice.randbytes(32))
    for number in range(RUNS):
        if number % 50 == 0:
            secret = Ed25519PrivateKey.from_private_bytes(dice.randbytes(32))
        key = bytearray(secret.public_key().public_bytes_raw())
        message = bytearray(dice.randbytes(dice.randrange(1, 200)))
        signature = bytearray(secret.sign(bytes(message)))
        for part in dice.choice(((), (key,), (signature,), (message,), (key, signature))):
            part[dice.randrange(len(part))] ^= 1 << dice.randrange(8)
        ours = pure(bytes(key), bytes(signature), bytes(message))
        assert ours is theirs(bytes(key), bytes(signature), bytes(message)), number


def test_a_scalar_has_one_spelling() -> None:
    key, message, signature = PURE
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    assert not pure(key, signature[:32] + scalar.to_bytes(32, "little"), message)


@pytest.mark.parametrize("y", [2**255 - 19, 2**255 - 1, 2**255 - 18, 2])
def test_a_key_that_is_no_point_or_not_its_one_spelling_verifies_nothing(y: int) -> None:
    _, message, signature = PURE
    assert not pure(y.to_bytes(32, "little"), signature, message)
    assert not pure((1 | 1 << 255).to_bytes(32, "little"), signature, message)  # minus zero


@pytest.mark.parametrize("length", [0, 31, 63, 65, 96])
def test_other_lengths_verify_nothing(length: int) -> None:
    key, message, signature = PURE
    assert not pure(key, (signature * 2)[:length], message)
    assert not pure((key * 4)[: length or 33], signature, message)
