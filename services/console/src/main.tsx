import "./style.css";
import "./operations.css";
import "./tasks.css";
import { render } from "preact";
import { Console } from "./parts/console";

const root = document.getElementById("console");
if (root) render(<Console />, root);
