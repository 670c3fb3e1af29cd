"""The kitchen's camera against closed-form geometry, and what may change a picture."""

from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest

from data_modules.kitchen.sensing.camera import Camera
from data_modules.kitchen.sensing.shading_cast import ALL, Caster
from data_modules.kitchen.world.names import COLLISION, HEAD, Array
from data_modules.kitchen.world.physics import KitchenWorld
from data_modules.kitchen.world.scene import Placed, Scene
from data_modules.kitchen.world.subject import SUBJECTS
from mssim.errors import UserError

FOV = 60.0


def world(geoms: str, eye: str = "0 0 0", axes: str = "1 0 0 0 1 0", lamp: str = "-1 0 3") -> Any:
    """A world of some geoms that an eye looks at, along +X unless told otherwise."""
    model = mujoco.MjModel.from_xml_string(f"""<mujoco><asset>
        <material name="red" rgba=".8 .1 .1 1"/><material name="ceramic" rgba=".9 .9 .9 1"/>
        <material name="wall" rgba=".8 .8 .8 1"/><material name="tile" rgba=".7 .8 .8 1"/>
        <material name="glass" rgba=".7 .8 .8 1"/><material name="water" rgba=".1 .3 .8 1"/>
        </asset><worldbody><light pos="{lamp}"/><site name="eye" pos="{eye}" xyaxes="{axes}"/>
        {geoms}</worldbody></mujoco>""")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return SimpleNamespace(model=model, data=data, effects=SimpleNamespace(dirt={}, fill={}))


def directions(size: int) -> Array:
    """Unit rays through the pixels' middles, float64 (size, size, 3): X ahead, Y left, Z up."""
    side = ((np.arange(size) + 0.5) / size * 2 - 1) * np.tan(np.radians(FOV) / 2)
    right, below = np.meshgrid(side, side)
    rays = np.stack([np.ones_like(right), -right, -below], -1)
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))


def render(scene: Any, size: int = 48, supersample: int = 1) -> Array:
    return Camera(scene.model, size, supersample, FOV).render(scene).astype(int)


def beyond() -> Array:
    """What a pixel shows that meets nothing: (3,)."""
    picture = render(world('<geom type="sphere" size=".1" pos="-1 0 0"/>'), 1)
    return np.asarray(picture[0, 0])


@pytest.mark.parametrize("place", [(1.0, 0.0, 0.0), (2.0, 0.4, 0.3), (1.5, -0.5, -0.2)])
def test_a_sphere_covers_the_cone_that_geometry_says(place: tuple[float, float, float]) -> None:
    x, y, z = place
    picture = render(world(f'<geom type="sphere" size=".2" pos="{x} {y} {z}" material="red"/>'))
    along = directions(48) @ np.array(place)
    inside = np.linalg.norm(place) ** 2 - along**2 < 0.2**2
    assert inside.sum() > 30
    np.testing.assert_array_equal((picture != beyond()).any(-1), inside)


def test_supersampling_covers_edges_in_part() -> None:
    # A box whose edge runs through the middle of the pixel columns 24 on: half of each is covered.
    edge = np.tan(np.radians(FOV) / 2) / 48
    scene = world(f'<geom type="box" size=".1 1 5" pos="1.1 {1 - edge} 0" material="red"/>')
    picture = render(scene, supersample=2)[24]
    inside, outside = picture[23], beyond()
    assert np.abs(inside - outside).max() > 40
    np.testing.assert_array_equal(picture[25], outside)
    assert np.abs(picture[24] - (inside + outside) / 2).max() < 3


@pytest.mark.parametrize("group", [COLLISION, HEAD])
def test_collision_shapes_and_the_head_are_not_seen_nor_throw_shadows(group: int) -> None:
    floor = '<geom type="box" size="5 5 .1" pos="0 0 -.6" material="wall"/>'
    hidden = f'<geom type="sphere" size=".3" pos=".6 0 0" material="red" group="{group}"/>'
    np.testing.assert_array_equal(render(world(floor + hidden)), render(world(floor)))
    shown = hidden.replace(f'group="{group}"', "")
    assert (render(world(floor + shown)) != render(world(floor))).any()


def test_the_shadow_falls_where_the_lamp_is_hidden() -> None:
    ball, radius, lamp = np.array([1.6, 0.3, -0.2]), 0.15, np.array([1.2, -0.3, 1.5])
    floor = '<geom type="plane" size="9 9 .1" pos="0 0 -.6" material="wall"/>'
    sphere = f'<geom type="sphere" size="{radius}" pos="1.6 .3 -.2" material="red"/>'
    at = " ".join(map(str, lamp))
    rays = directions(64)
    bare = render(world(floor, lamp=at), 64).sum(-1)
    picture = render(world(floor + sphere, lamp=at), 64).sum(-1)
    below = rays[..., 2] < -0.05
    points = rays * np.where(below, -0.6 / np.minimum(rays[..., 2], -1e-3), 0)[..., None]
    # The ball hides itself and what is behind it: only rays that pass it well are of the floor.
    passes = np.linalg.norm(np.cross(rays, ball), axis=-1) > radius + 0.01
    reach = points - lamp
    miss = np.linalg.norm(np.cross(reach, ball - lamp), axis=-1) / np.linalg.norm(reach, axis=-1)
    # The lamp is not a point: leave out a band around the edge.
    dark, light = below & passes & (miss < radius - 0.05), below & passes & (miss > 2.5 * radius)
    assert dark.sum() > 15
    ratio = picture / np.maximum(bare, 1)
    assert ratio[dark].max() < 0.8
    assert ratio[light & (bare > 0)].min() > 0.95


def test_dirt_shows_on_its_quarter_of_the_plate_and_only_there() -> None:
    disc = '<geom name="plate" type="cylinder" size=".12 .01" material="ceramic"/>'
    plate = f'<body name="plate">{disc}</body>'
    # From above, head towards +X: right in the picture is -Y, up is +X.
    scene = world(plate, eye="0 0 .25", axes="0 0 -1 0 1 0")
    clean = render(scene)
    grid = np.zeros((16, 16))
    grid[9:, 9:] = 1.0  # +X, +Y: upper left
    scene.effects.dirt["plate"] = grid
    dirty = render(scene)
    darker = (clean - dirty).sum(-1)
    assert darker[15:20, 15:20].min() > 100
    assert np.abs(darker[25:]).max() == 0 and np.abs(darker[:, 25:]).max() == 0
    brown = dirty[17, 17]
    assert brown[0] > brown[1] > brown[2]


def test_more_water_shows_through_the_glass_as_more_blue() -> None:
    geoms = """<geom type="box" size=".2 .2 .01" pos=".8 0 -.21" material="glass"/>
        <geom type="box" size=".01 .2 .2" pos=".6 0 0" material="glass"/>
        <geom name="w" type="cylinder" size=".15 .1" pos=".8 0 0" material="water"/>
        <geom type="box" size=".1 3 3" pos="2 0 0" material="wall"/>"""
    scene = world(geoms)
    camera = Camera(scene.model, 48, 1, FOV)
    tops = []
    for level in (0.05, 0.2, 0.35):
        scene.model.geom("w").size[1] = level / 2
        scene.model.geom_aabb[scene.model.geom("w").id, 5] = level / 2
        scene.data.geom("w").xpos[2] = -0.2 + level / 2
        column = camera.render(scene).astype(int)[:, 24]
        blue = column[:, 2] - column[:, 0] > 30
        # Its near side is at x = .65: where the top must show.
        top = 24 * (1 - (-0.2 + level) / 0.65 / np.tan(np.radians(FOV) / 2))
        rows = np.flatnonzero(blue)
        tops.append(rows.min())
        assert abs(rows.min() - top) <= 3
    assert tops[0] > tops[1] > tops[2]


def test_patterns_fade_with_distance_instead_of_flickering() -> None:
    def contrast(distance: float) -> float:
        wall = f'<geom type="box" size=".1 50 50" pos="{distance + 0.1} 0 0" material="tile"/>'
        grey = render(world(wall, lamp="-50 0 0")).mean(-1)[20:28, 20:28]
        return float(grey.std() / grey.mean())

    assert contrast(0.5) > 0.03
    assert contrast(15.0) < contrast(0.5) / 3


@pytest.fixture(scope="module")
def kitchen() -> KitchenWorld:
    objects = (Placed("plate", 0.5, 0.05), Placed("cup", 0.5, 0.3), Placed("sponge", 0.45, -0.2))
    made = KitchenWorld(SUBJECTS["S00"], Scene(objects, dirt={"plate": 1.0}, fill={"cup": 0.5}))
    for _ in range(3):
        made.step(made.rest_command())
    return made


def test_the_same_moment_gives_the_same_bytes(kitchen: KitchenWorld) -> None:
    camera = Camera(kitchen.model, 32)
    state = kitchen.state()
    first = camera.render(kitchen)
    assert first.shape == (32, 32, 3) and first.dtype == np.uint8
    assert first.std() > 20
    assert camera.render(kitchen).tobytes() == first.tobytes()
    for _ in range(5):
        kitchen.step(kitchen.rest_command())
    camera.render(kitchen)
    kitchen.reset(state)
    assert Camera(kitchen.model, 32).render(kitchen).tobytes() == first.tobytes()
    assert camera.render(kitchen).tobytes() == first.tobytes()


def test_rendering_leaves_physics_alone(kitchen: KitchenWorld) -> None:
    before = kitchen.state().physics
    Camera(kitchen.model, 16).render(kitchen)
    np.testing.assert_array_equal(kitchen.state().physics, before)


def test_rays_meet_what_the_world_itself_says(kitchen: KitchenWorld) -> None:
    caster = Caster(kitchen.model, np.zeros(kitchen.model.ngeom, bool))
    caster.follow(kitchen)
    eye = kitchen.data.site("eye").xpos
    rays = kitchen.data.site("eye").xmat.reshape(3, 3) @ directions(24).reshape(-1, 3).T
    geom, distance, _ = caster.cast(eye, rays, ALL)
    seen = np.ones((6, 1), np.uint8)
    seen[[COLLISION, HEAD]] = 0
    met = np.zeros((1, 1), np.int32)
    for number, ray in enumerate(rays.T):
        far = mujoco.mj_ray(
            kitchen.model, kitchen.data, eye.reshape(3, 1), ray.reshape(3, 1), seen, True, -1, met
        )
        assert met[0, 0] == geom[number]
        assert far == pytest.approx(distance[number], abs=1e-9)


@pytest.mark.parametrize(
    ("size", "supersample", "fov", "said"),
    [(0, 2, 75.0, "size 0"), (32, 0, 75.0, "supersample 0"), (32, 2, 180.0, "fov 180.0")],
)
def test_bad_settings_are_refused(size: int, supersample: int, fov: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Camera(world("").model, size, supersample, fov)
