import mssim

sim = mssim.load_simulator("kitchen-32")  # or a run's folder, or one of `mssim release`
print(sim.config.size, sim.config.rate, [sense.name for sense in sim.config.senses])

frames, senses = mssim.load_example("kitchen-32")  # uint8 (1, 20, 3, 32, 32); float by sense
seen = {name: values[:, :4] for name, values in senses.items()}
done = {name: values[:, 4:12] for name, values in senses.items()}
still = {name: values[:, 3:4].expand_as(done[name]) for name, values in senses.items()}

sim.start(frames[:, :4], seen)  # four frames, and what was felt on the way to them
before = sim.state()  # a value: keep it, save it, fork it with rows([0] * 8), go back to it
for name, actions in (("as it was", done), ("nobody moves", still)):
    sim.reset(before)
    dreamt = sim.step(actions)  # uint8 (1, 8, 3, 32, 32)
    print(name, (dreamt.float() - frames[:, 4:12].float()).abs().mean().item())
