from sadik_sim.cli import main

main()
