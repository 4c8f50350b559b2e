// For asc, whose exports can have no other names than identifiers: what is exported as
// strategy_pick is renamed to what the contract calls it.
export default class ContractNames {
  afterCompile(module) {
    for (const [known, contract] of Object.entries({
      strategy_pick: "anubis:lb/strategy@0.1.0#pick",
      planner_plan: "anubis:lb/planner@0.1.0#plan",
      config_configure: "anubis:lb/config@0.1.0#configure",
      feedback_observe: "anubis:lb/feedback@0.1.0#observe",
      state_save: "anubis:lb/state@0.1.0#save",
      state_restore: "anubis:lb/state@0.1.0#restore",
    })) {
      if (!module.getExport(known)) continue;
      module.removeExport(known);
      module.addFunctionExport(`exports/${known}`, contract);
    }
  }
}
